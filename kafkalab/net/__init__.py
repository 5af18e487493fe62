"""Native connections to brokers: opened as the options ask, lent to whoever reads or asks, and the requests on them."""
