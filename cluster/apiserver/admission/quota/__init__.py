"""ResourceQuota: what a namespace may use is taken in the transaction of the object that uses it."""
