"""Content of files, behind `ports.Blobs`. An adapter knows nothing of projects, rows or what a file is called."""
