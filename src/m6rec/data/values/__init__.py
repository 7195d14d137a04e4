"""Values as files and people write them: what means nothing, numbers, times, ids.

Tables, importers and the server read values here and nowhere else.
"""
