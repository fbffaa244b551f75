"""What is asked below an object: scale, binding, eviction, log and the others that are no plain part of it."""
