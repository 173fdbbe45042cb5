"""Other projects' checkpoints and configs, turned into ours."""
