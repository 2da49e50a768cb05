"""The rows of another API's table that apply on one's own machines."""
