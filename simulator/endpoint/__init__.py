"""The endpoint: the serving loop on the wall clock behind the Open Inference Protocol; needs the extra `serve`."""
