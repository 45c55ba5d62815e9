"""What a run says: columns, figures, files, text, the journal, the verdict."""
