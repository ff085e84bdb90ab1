"""The stage programs behind the `fuxi-ens` command: each joins a config to the library, and computes nothing."""
