"""Alerts: what somebody wants to be told of, what of it holds, and the messages that go out."""
