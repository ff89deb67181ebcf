"""The cases of test_same_as_docker.py: a folder for each, and here what a folder cannot hold."""
