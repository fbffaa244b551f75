"""The API server: kube-apiserver's wire behaviour over the replicated store."""
