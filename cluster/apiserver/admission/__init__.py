"""What the API server itself adds to and demands of objects, beyond their own validity."""
