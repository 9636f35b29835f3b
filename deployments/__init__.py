"""The Prefect deployments: which flow runs in which work pool, with which parameters and schedule."""
