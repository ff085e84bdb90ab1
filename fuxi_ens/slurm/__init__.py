"""Runs as SLURM jobs: the site's file, job scripts made from it, and what is known of jobs that were submitted."""
