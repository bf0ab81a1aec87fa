"""The dashboard: pages over the capabilities that the API uses too, never over the API; live by one stream of events."""
