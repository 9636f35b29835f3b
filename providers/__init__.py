"""Where nodes come from: one flat file per kind of provider, behind the Protocol in `providers.base`."""
