"""What runs on an app host beside the connector."""
