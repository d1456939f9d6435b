"""What the deployed functions do, and how they are run on this machine (``coordinator serve``)."""
