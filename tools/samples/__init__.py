"""This package invents accounts and renders them as terminals export them."""
