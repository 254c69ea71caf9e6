"""Small things that know nothing of networks: units, whole files, TOML, seeds."""
