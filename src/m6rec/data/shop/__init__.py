"""The built-in shop: a made-up store with shoppers, written by a seed, for when there is no data."""

from m6rec.data.shop.generate import SIZES, ShopSize, generate_shop

__all__ = ["SIZES", "ShopSize", "generate_shop"]
