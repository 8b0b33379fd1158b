"""Put tasks on the crontab so that the load stays level."""
