"""Real NFS: a server and clients as User Mode Linux guests on this machine (``pytest -m nfs``, as root)."""
