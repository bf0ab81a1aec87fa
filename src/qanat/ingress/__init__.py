"""Ingress: rules, services and originRequest, one model and one validation for API, dashboard, files and connector."""
