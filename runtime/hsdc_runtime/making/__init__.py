"""How a data run makes rows: records of declared shapes, filters, splits, and what is written of them."""
