"""The command line: `qanat edge`, and commands that talk to a control plane's API."""
