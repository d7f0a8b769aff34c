CREATE TABLE `recoveries` (
	`name` text NOT NULL,
	`public_key` text NOT NULL,
	`state` text NOT NULL,
	`resources` text NOT NULL,
	`inventory` text,
	`found_at` text NOT NULL,
	PRIMARY KEY(`name`, `public_key`)
);
