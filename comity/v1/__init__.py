"""The wire: messages and service stubs generated from `proto/comity/v1` by `make proto`."""
