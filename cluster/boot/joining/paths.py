"""What join servers serve, by path."""

OPEN = "/oarlock/v1/join"
SERVER = f"{OPEN}/server"
NODE = f"{OPEN}/node"
RENEW = f"{OPEN}/renew"
TOKENS = f"{OPEN}/tokens"
