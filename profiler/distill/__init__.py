"""Students with real accuracy: a teacher fine-tuned on a task, and shallow encoders boosted on what it says."""
