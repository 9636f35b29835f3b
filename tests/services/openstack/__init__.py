"""A real OpenStack on loopback for tests: `OpenStack` in `cloud.py` starts and stops it, `regions.py` says what it consists of.

`stack/` runs in an environment of its own (`environment.py`), with the packages of `requirements.lock`: Keystone, and for each region
Glance, Placement, Neutron and Nova, unmodified, on a throw-away PostgreSQL. Nova's hypervisor is its own fake driver, whose
"guests" are real SSH servers at the server's own loopback address.
"""
