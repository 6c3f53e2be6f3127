"""The command line. It imports all the other rooms, and none of them imports it."""
