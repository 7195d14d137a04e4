"""M6-Edge where the user is: graphs for phones and browsers, in one checked bundle."""
