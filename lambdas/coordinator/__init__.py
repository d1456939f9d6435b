"""The function that callers without the mount speak to: no mount, no VPC."""
