"""This package is what deals and trades come to: money, trades, series, drawdowns and ratios, counted in one pass.

Pure. Reports show it, and the derived tables store how far it is counted.
"""
