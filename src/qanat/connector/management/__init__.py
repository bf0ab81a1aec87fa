"""The management of a running connector, asked for through its edge with a token: log lines as they come, host details, metrics,
profiles (connector.md §5). Only `service` and `viewers` are loaded before the first request."""
