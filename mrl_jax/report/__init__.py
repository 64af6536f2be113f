"""Results as tables, pictures and a page; reads files, knows nothing else."""
