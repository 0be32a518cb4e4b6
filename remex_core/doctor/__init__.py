"""What `remex doctor` looks at: the machine, the installation, and a server that runs."""
