"""m6rec: one pretrained language model that does every job of a recommender system."""
