"""Opens and creates files that several users can write, and checks which users to trust."""
