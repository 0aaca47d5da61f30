"""What commits cost, beside other ways to do the same. Not collected by pytest."""
