CREATE TABLE `access_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`hash` text NOT NULL,
	`name` text NOT NULL,
	`scope` text NOT NULL,
	`projects` text,
	`created_at` text NOT NULL,
	`expires_at` text NOT NULL
);
