"""Reports: what runs, sweeps and protocols came to, as one page and as figures."""
