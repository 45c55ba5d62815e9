"""The study of tenants: modelled tables, what is measured of each part, what is asked of it, and the page."""
