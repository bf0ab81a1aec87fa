"""The connector as a service of its host: installed, replaced, taken away, brought to a new version."""
