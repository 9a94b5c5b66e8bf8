"""What a job asks when it failed: whose fault it was, and where it may go on."""
