"""What makes a release, up to the upload: `make release`."""
