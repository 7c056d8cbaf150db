"""The API server: requests, admission, validation, lists and watches over the object store."""
