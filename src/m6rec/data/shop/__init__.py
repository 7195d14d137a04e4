"""The built-in shop: a made-up store and its shoppers, the same for the same seed."""

from m6rec.data.shop.generate import SIZES, ShopSize, generate_shop

__all__ = ["SIZES", "ShopSize", "generate_shop"]
