"""The SDK, against a controller that runs inputs in the test process."""
