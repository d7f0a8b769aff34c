CREATE TABLE `device_logins` (
	`device_hash` text PRIMARY KEY NOT NULL,
	`user_code` text NOT NULL,
	`address` text NOT NULL,
	`user_name` text,
	`denied` integer DEFAULT false NOT NULL,
	`created_at` text NOT NULL,
	`expires_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `device_logins_user_code` ON `device_logins` (`user_code`);--> statement-breakpoint
CREATE INDEX `device_logins_expires` ON `device_logins` (`expires_at`);--> statement-breakpoint
CREATE TABLE `user_logins` (
	`id` text PRIMARY KEY NOT NULL,
	`user_name` text NOT NULL,
	`refresh_hash` text NOT NULL,
	`address` text NOT NULL,
	`created_at` text NOT NULL,
	`expires_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `user_logins_refresh` ON `user_logins` (`refresh_hash`);--> statement-breakpoint
CREATE INDEX `user_logins_user` ON `user_logins` (`user_name`);--> statement-breakpoint
CREATE TABLE `users` (
	`name` text PRIMARY KEY NOT NULL,
	`password_hash` text NOT NULL,
	`projects` text,
	`read_only` integer DEFAULT false NOT NULL,
	`created_at` text NOT NULL
);
