"""Heat waves: several days in a row on which the daily maximum exceeds a climatological quantile."""
